// The settings dialog. Every change takes effect at once and is stored in this browser.

import { about } from "./api.js";
import { dialog } from "./dialog.js";
import { el } from "./dom.js";
import { change, settings } from "./store.js";
import { t } from "./words.js";

/** Opens the settings. */
export function openSettings() {
    let box = dialog(t("settings"), [form()]);
    function form() {
        const again = () => {
            box.close();
            openSettings();
        };
        return el(
            "form.settings",
            { onsubmit: (event) => event.preventDefault() },
            slider("temperature", "temperature", 0, 2, 0.05, t("temperature_help")),
            slider("top_p", "topP", 0.05, 1, 0.05, t("top_p_help")),
            whole("max_tokens", "maxTokens", 1, about.context ?? 4096),
            whole("seed", "seed", 0, 2147483647, t("seed_help"), true),
            field("system", t("system_help"), text("system", "textarea")),
            field("rater", t("rater_help"), text("rater", "input")),
            about.adapters?.length > 0 && choice("adapter", "adapter", adapters()),
            choice("appearance", "theme", ["auto", "light", "dark"].map((name) => [name, t(`theme_${name}`)])),
            choice("language", "language", [["", t("theme_auto")], ["en", "English"], ["zh", "中文"]], again),
            el("button.quiet", { type: "button", onclick: () => {
                change({ temperature: 0.7, topP: 0.9, maxTokens: 256, seed: null, system: "", adapter: "" });
                again();
            } }, t("defaults")),
        );
    }
}

const adapters = () => [["", t("adapter_none")], ...about.adapters.map((adapter) => {
    const name = String(adapter?.name ?? adapter);
    return [name, name];
})];

function field(label, help, control, output = null) {
    const id = `setting-${label}`;
    control.id = id;
    if (help) control.setAttribute("aria-describedby", `${id}-help`);
    return el(
        "div.field",
        {},
        el("div.labelled", {}, el("label", { for: id }, t(label)), output),
        control,
        help && el("p.help", { id: `${id}-help` }, help),
    );
}

function slider(label, name, min, max, step, help) {
    const output = el("output", {}, settings[name].toFixed(2));
    const input = el("input", { type: "range", min, max, step, value: settings[name] });
    input.addEventListener("input", () => {
        output.textContent = Number(input.value).toFixed(2);
        change({ [name]: Number(input.value) });
    });
    return field(label, help, input, output);
}

function whole(label, name, min, max, help = null, empty = false) {
    const input = el("input", { type: "number", min, max, step: 1, inputmode: "numeric", value: settings[name] ?? "" });
    input.addEventListener("change", () => {
        const value = Math.round(Number(input.value));
        if (empty && input.value === "") change({ [name]: null });
        else if (Number.isFinite(value) && input.value !== "") change({ [name]: Math.min(max, Math.max(min, value)) });
        input.value = settings[name] ?? "";
    });
    return field(label, help, input);
}

function text(name, tag) {
    const input = el(tag, { value: settings[name], rows: tag === "textarea" ? 3 : null, maxlength: 20000, autocomplete: "off" });
    input.addEventListener("input", () => change({ [name]: input.value }));
    return input;
}

function choice(label, name, options, then = () => {}) {
    const select = el("select", {}, options.map(([value, words]) => el("option", { value }, words)));
    select.value = settings[name];
    select.addEventListener("change", () => {
        change({ [name]: select.value });
        then();
    });
    return field(label, null, select);
}
