// Refuses files in plainer words than Gradio does, before they are sent.
const {endings, formats, largest} = settings;
const problem = (file, part) => {
    if (endings[part] && !endings[part].some(ending => file.name.toLowerCase().endsWith(ending)))
        return `${file.name} is not read here. Save the recording as ${formats}.`;
    if (file.size > largest[part])
        return `${file.name} has more than ${Math.floor(largest[part] / 2 ** 20)} MB. Shorten or compress it.`;
    return "";
};
const check = event => {
    const files = [...((event.dataTransfer ?? event.target).files ?? [])];
    const part = event.target.closest(Object.keys(largest).map(id => `#${id}`).join())?.id;
    if (!part || !files.length) return;
    const refused = document.querySelector(`#${part}-group .refused`);
    refused.textContent = files.map(file => problem(file, part)).find(Boolean) ?? "";
    if (refused.textContent) {
        event.preventDefault();
        event.stopImmediatePropagation();
        if (event.type === "change") event.target.value = "";
    }
};
document.addEventListener("change", check, true);
document.addEventListener("drop", check, true);
document.addEventListener("click", event => {
    const part = event.target.matches("input[type=file]") && event.target.closest("#clip, #recording")?.id;
    if (part) event.target.accept = endings[part].join(",");
}, true);
