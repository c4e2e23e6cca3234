// The effect of temperature on a distribution of which only the likeliest tokens are known.

/**
 * The probabilities at a temperature: softmax(logprob / T). `logprobs` are those of the likeliest tokens at temperature
 * 1, best first. The remaining probability is assumed to be spread evenly over the rest of the vocabulary, so the
 * result is exact at temperature 1 and a good estimate elsewhere. Returns `{probabilities, rest, entropy}`, entropy in
 * bits.
 */
export function reshape(logprobs, temperature, vocabulary) {
    const known = logprobs.reduce((sum, logprob) => sum + Math.exp(logprob), 0);
    const count = Math.max(0, vocabulary - logprobs.length);
    const left = Math.max(0, 1 - known);
    const each = count > 0 && left > 1e-9 ? Math.log(left / count) : -Infinity;
    const highest = Math.max(...logprobs, each);
    const weight = (logprob) => Math.exp((logprob - highest) / temperature);
    const weights = logprobs.map(weight);
    const rest = each === -Infinity ? 0 : count * weight(each);
    const total = weights.reduce((sum, one) => sum + one, rest);
    const term = (share) => (share > 0 ? -share * Math.log2(share) : 0);
    const probabilities = weights.map((one) => one / total);
    const entropy = probabilities.reduce((sum, share) => sum + term(share), 0)
        + (rest > 0 ? term(rest / total) + (rest / total) * Math.log2(count) : 0);
    return { probabilities, rest: rest / total, entropy };
}
