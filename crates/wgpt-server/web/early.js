// Applies the chosen colours and language before anything is painted, so that nothing flashes.
try {
    const chosen = JSON.parse(localStorage.getItem("wgpt.settings") ?? "{}");
    if (["light", "dark"].includes(chosen.theme)) document.documentElement.dataset.theme = chosen.theme;
    if (chosen.language) document.documentElement.lang = chosen.language;
} catch {
    // Without storage, or with corrupt data, the system's preferences apply.
}
