// Inside: how a text is tokenised, what could follow each token, and what each token attends to.

import { json, trouble } from "./api.js";
import { Attention, enlarged, heads } from "./attention.js";
import { conversation, spoken } from "./conversation.js";
import { distribution } from "./distribution.js";
import { announce, composes, el } from "./dom.js";
import { icon } from "./icons.js";
import { actions } from "./keys.js";
import { looks } from "./looks.js";
import { notice, viewHead } from "./notice.js";
import { bytesOf, chips } from "./tokens.js";
import { number, t } from "./words.js";

const EXAMPLES = ["我在一个月黑风高的夜晚", "The capital of France is", "To be, or not to be, that is the", "Ünïcode 🦉 naïve"];

/** Number of candidates requested after each token. */
const TOP = 50;

/** Maximum number of tokens in a text that the server analyses. */
const LONGEST = 256;

/** The view's state, which survives leaving the view. */
const state = { text: "", result: null, selected: 0, layer: 0, head: 0, asking: null };

/** The last question and its answer, used when a whole chat would be too long to be shown. */
const exchange = (messages) => messages.slice(-2);

/** Opens the view with the last question and answer of the messages. */
export function lookAt(messages) {
    state.text = "";
    state.result = null;
    state.messages = exchange(messages);
    location.hash = "#/inside";
}

/** Shows the view. */
export function show(main) {
    const area = el("textarea", { id: "inside-text", rows: 2, maxlength: 4000, placeholder: t("start_inside"), value: state.text });
    const out = el("div.insides", { "aria-busy": "false" });
    const button = el("button.primary", { type: "submit" }, t("look"));
    const example = (text) => el("button.suggestion", { type: "button", onclick: () => begin(text) }, text);
    const last = el("button.suggestion", { type: "button", disabled: spoken(conversation).length === 0, onclick: () => {
        area.value = "";
        run({ messages: exchange(spoken(conversation)) });
    } }, icon("chat"), t("last_chat"));
    const form = el(
        "form.lookform",
        { onsubmit: (event) => {
            event.preventDefault();
            if (area.value !== "") begin(area.value);
        } },
        el("label", { for: "inside-text" }, t("text_to_look")),
        el("div.lookrow", {}, area, button),
        el("div.suggestions", {}, EXAMPLES.map(example), last),
    );
    area.addEventListener("input", () => (state.text = area.value));
    area.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || composes(event)) return;
        event.preventDefault();
        form.requestSubmit();
    });

    function begin(text) {
        area.value = text;
        state.text = text;
        run({ text });
    }

    async function run(what) {
        state.asking?.abort();
        const asking = (state.asking = new AbortController());
        out.setAttribute("aria-busy", "true");
        if (!state.result) out.replaceChildren(el("p.waiting", { role: "status" }, t("looking")));
        try {
            const { found, cut } = await look(what, asking.signal);
            state.result = { ...found, what, cut };
            state.selected = Math.max(0, found.tokens.length - 1);
            state.layer = Math.min(state.layer, found.layers - 1);
            state.head = Math.min(state.head, found.heads - 1);
            draw();
            announce(t("cut_facts", facts(found.tokens)));
        } catch (error) {
            if (error?.name === "AbortError") return;
            out.replaceChildren(notice(trouble(error), () => run(what)));
        } finally {
            if (state.asking === asking) out.setAttribute("aria-busy", "false");
        }
    }

    let view = null;
    function draw() {
        view?.stop();
        view = state.result ? sections(state.result, begin) : null;
        out.replaceChildren(...(view?.nodes ?? []));
        view?.drawn();
    }

    main.append(viewHead("inside"), form, out);
    actions.view = { write: () => area.focus(), stop: () => state.asking?.abort() };
    const redraw = () => view?.drawn();
    document.addEventListener("theme", redraw);
    if (state.messages) {
        run({ messages: state.messages });
        state.messages = null;
    } else draw();
    return () => {
        view?.stop();
        document.removeEventListener("theme", redraw);
    };
}

/** Analyses a text or messages; if they are too long, the beginning of the text. */
async function look(what, signal) {
    try {
        return { found: await json("/wgpt/inside", { body: { ...what, top: TOP }, signal }), cut: false };
    } catch (error) {
        const text = what.text ?? what.messages.map(({ content }) => content).join("\n\n");
        const { tokens } = error.kind === "refused" ? await json("/tokenize", { body: { text }, signal }) : { tokens: [] };
        if (tokens.length <= LONGEST) throw error;
        // The tokenizer adds what it puts before a text by itself, and a character cut off at the end is dropped.
        const bytes = new Uint8Array(tokens.slice(0, LONGEST - 8).flatMap(bytesOf));
        const body = { text: new TextDecoder().decode(bytes).replace(/\uFFFD+$/, ""), top: TOP };
        return { found: await json("/wgpt/inside", { body, signal }), cut: true };
    }
}

function facts(tokens) {
    const bytes = tokens.flatMap(bytesOf);
    const characters = [...new TextDecoder().decode(new Uint8Array(bytes))].length;
    return { characters: number(characters), bytes: number(bytes.length), tokens: number(tokens.length) };
}

/** The end of the text up to a token. An incomplete character is shown as a question mark. */
function before(tokens, index) {
    const bytes = tokens.slice(Math.max(0, index - 40), index + 1).flatMap(bytesOf);
    const letters = [...new TextDecoder().decode(new Uint8Array(bytes))];
    return `${letters.length > 28 || index > 40 ? "…" : ""}${letters.slice(-28).join("").replaceAll("\n", "↵")}`;
}

/** The three sections of a result; choosing a token or a head in one of them updates the others. */
function sections(result, begin) {
    const { tokens, next } = result;
    const attention = new Attention(result);
    const bars = el("div.next");
    const strip = chips(tokens, { choose, label: t("cut_title") });
    const small = heads(attention, chooseHead);
    const large = enlarged(attention, choose);
    const text = looks(attention, choose);
    const title = el("h3");

    function choose(index) {
        state.selected = index;
        update();
    }
    function chooseHead(layer, head) {
        state.layer = layer;
        state.head = head;
        update();
    }
    // A candidate can be appended if the text is the reader's own, after its last token, and if the candidate is valid
    // text.
    const pick = (candidate) => begin(result.what.text + candidate.text);
    const update = () => {
        const { selected, layer, head } = state;
        const writes = result.what.text !== undefined && !result.cut && selected === tokens.length - 1;
        strip.select(selected);
        bars.replaceChildren(
            el("h3", {}, t("next_after"), " ", el("q.piece", {}, before(tokens, selected))),
            distribution(next[selected], { came: tokens[selected + 1] ?? null, pick: writes ? pick : null }),
            el("p.quieter", {}, writes ? t("next_hint") : "\u00a0"),
        );
        small.select(layer, head);
        large.redraw(layer, head);
        title.textContent = t("layer_head", { layer, head });
        text.redraw(layer, head, Math.min(selected, attention.length - 1));
    };
    const section = (name, ...children) => el(
        `section.panel.${name}`,
        {},
        el("h2", {}, t(`${name}_title`)),
        el("p.lead", {}, t(`${name}_text`)),
        children,
    );
    const told = [t("cut_facts", facts(tokens)), result.cut && t("cut_limit", { count: tokens.length })];
    const cut = section("cut", strip.node, el("p.quieter", {}, told.filter(Boolean).join(". ")));
    const watching = new ResizeObserver(() => text.redraw());
    watching.observe(text.node);
    return {
        nodes: [
            cut,
            section("next", bars),
            section(
                "attention",
                el("div.headscroll", {}, small.node),
                el("p.quieter", {}, t("attention_hint")),
                title,
                el("div.closer", {}, large.node, text.node),
            ),
        ],
        drawn: () => {
            small.redraw();
            update();
        },
        stop: () => watching.disconnect(),
    };
}
