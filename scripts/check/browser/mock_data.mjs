// The mock server's data: answers, tokens, runs, ratings.

const MARKDOWN = `## The moon in short

The moon is *tidally locked*: it always shows us **the same side**. See [NASA](https://science.nasa.gov/moon/) or https://example.org.

1. It is about 384,400 km away.
2. It has no air:
   - no wind
   - no \`sound\`
3. People have walked on it.

| body | radius | gravity |
|---|---:|---:|
| Earth | 6371 km | 9.81 |
| Moon | 1737 km | 1.62 |

\`\`\`python
def weight(kilograms, gravity=1.62):
    return kilograms * gravity  # <b>newtons</b>
\`\`\`

> A small step, and so on.`;
const SCRIPT = `Here is some HTML: <script>window.broken = true</script> and <img src=x onerror="window.broken = true"> and
[a link](javascript:window.broken=true) and \`<script>window.broken = true</script>\`.

<b>not bold</b>`;
const ANSWERS = [
    "A cat is a small, furry animal that many people keep as a pet. Cats sleep a lot, hunt mice, and purr when they are content.",
    "Cats are domesticated carnivores. They belong to the family Felidae, which also includes lions and tigers, and they have lived beside people for about ten thousand years.\n\nThey are known for:\n\n- sharp claws\n- soft fur\n- being awake at night",
    "The cat is a mammal. It likes warm places, fish, and your keyboard.",
];
const NIGHT = "我在一个月黑风高的夜晚，听见窗外有人轻轻敲门。风很大，灯忽明忽暗。";

/** An answer to a text; the seed chooses among several. */
export function answerTo(text, seed) {
    if (/script/i.test(text)) return SCRIPT;
    if (/markdown/i.test(text)) return MARKDOWN;
    if (/[\u4e00-\u9fff]/.test(text)) return NIGHT;
    return ANSWERS[Math.floor(noise(seed) * 3) % ANSWERS.length];
}

/**
 * Tokens as a byte-level tokenizer might split a text: whole words, rarer Chinese characters over two or three tokens.
 */
export function textTokens(text) {
    const pieces = text.match(/<\|\w+\|>| ?[A-Za-z]{1,7}|[\u4e00-\u9fff]|\s|[^\sA-Za-z\u4e00-\u9fff]/gu) ?? [];
    return pieces.flatMap((piece) => {
        const bytes = [...Buffer.from(piece)];
        const rare = /[\u4e00-\u9fff]/.test(piece) && bytes[2] % 3 !== 0;
        const parts = rare ? (bytes[2] % 3 === 1 ? [bytes.slice(0, 2), bytes.slice(2)] : bytes.map((byte) => [byte])) : [bytes];
        return parts.map((part) => ({
            id: part.reduce((sum, byte) => (sum * 257 + byte) % 49152, 7),
            text: new TextDecoder().decode(new Uint8Array(part)),
            bytes: part,
        }));
    });
}

const noise = (seed) => Math.abs(Math.sin(seed * 78.233) * 43758.5453) % 1;

/** The state of the runs after this many seconds; one of them is still running. */
export function curves(seconds) {
    const run = (name, stage, steps, at, line, sample) => {
        const numbers = Array.from({ length: at }, (_, step) => step);
        const metrics = numbers.map((step) => ({ step, stage, ...line(step) }));
        const samples = numbers.filter((step) => step % Math.ceil(steps / 8) === 0).map((step) => ({ step, ...sample(step) }));
        const running = at < steps;
        const changed = Date.now() - (running ? 500 : 5400000);
        return { name, stage, step: at, steps, running, changed, last: metrics.at(-1) ?? {}, metrics, samples };
    };
    const loss = (scale) => (step) => ({
        train_loss: 1.6 + 2.7 * Math.exp(-step / (220 * scale)) + 0.16 * (noise(step + scale) - 0.5),
        ...(step % 50 === 0 ? { val_loss: 1.68 + 2.6 * Math.exp(-step / (220 * scale)) } : {}),
        learning_rate: 1e-3 * Math.min(1, (step + 1) / 60), gradient_norm: 0.6 + noise(step), tokens_per_second: 5200 + 900 * noise(step),
    });
    const reward = (step) => ({
        score: 6 * (1 - Math.exp(-step / 120)) + noise(step), kl: 6 * (1 - Math.exp(-step / 90)) + 0.5 * noise(step + 3),
        beta: 0.15 + 0.6 * (1 - Math.exp(-step / 200)), entropy: 1.5 - 0.002 * step, response_length: 20 - 3 * noise(step), policy_loss: -0.02 * noise(step),
        value_loss: 4 * Math.exp(-step / 60) + 0.2, clip_fraction: 0.16 * noise(step), approx_kl: 0.05 * noise(step), repetition: 0.002 * noise(step),
    });
    const write = (step) => ({ sample: `ROMEO.\nWhat ${step < 100 ? "hert the wnid" : "heart, the wind"} and sea,\nat step ${step}.` });
    const kind = (step) => ({ sample: "itors' house,\nand the love your <b>dear</b> ", sample_score: reward(step).score });
    return [
        run("shakespeare", "pretrain", 2000, Math.min(2000, 700 + Math.floor(seconds * 4)), loss(1), write),
        run("shakespeare-wide", "pretrain", 1500, 1500, loss(0.7), write),
        run("happy", "ppo", 400, 400, reward, kind),
    ];
}

/** Ratings that exist from the start. */
export function ratings() {
    const prompts = ["What is a cat?", "写一句关于月亮的话。", "Why is the sky blue? <script>alert(1)</script>"];
    return Array.from({ length: 23 }, (_, index) => {
        const messages = [{ role: "user", content: prompts[index % 3] }];
        const answers = [ANSWERS[index % 3], index % 3 === 1 ? NIGHT : ANSWERS[(index + 1) % 3]];
        const verdict = index % 4 === 3 ? { scores: [index % 8 === 3 ? 5 : 1] } : index % 7 === 5 ? { ranking: [2, 1] } : { best: index % 2 };
        const time = Date.now() - (23 - index) * 4000000;
        return { prompt: messages, answers: "scores" in verdict ? answers.slice(0, 1) : answers, verdict, rater: ["anna", "bo", "anonymous"][index % 3], time };
    });
}
