// Before anything is painted: the colours and the language that were chosen, so that nothing flashes.
try {
    const chosen = JSON.parse(localStorage.getItem("wgpt.settings") ?? "{}");
    if (["light", "dark"].includes(chosen.theme)) document.documentElement.dataset.theme = chosen.theme;
    if (chosen.language) document.documentElement.lang = chosen.language;
} catch {
    // Without storage, or with a broken one: as the system likes it.
}
