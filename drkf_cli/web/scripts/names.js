// Names what Gradio leaves without a name. Tabs are there a little later than the page.
const named = {
    "answer": {role: "status", "aria-live": "polite"},
    "conversation": {role: "status", "aria-live": "polite"},
    "clip-group": {role: "group", "aria-label": "Clip"},
    "recording-group": {role: "group", "aria-label": "Recording"},
    "transcript-group": {role: "group", "aria-label": "Transcript"},
    "stop": {disabled: ""},  // until a conversation is under way
};
const name = () => {
    for (const id of Object.keys(named)) {
        const element = document.getElementById(id);
        if (!element) continue;
        for (const [attribute, value] of Object.entries(named[id])) element.setAttribute(attribute, value);
        delete named[id];
    }
    if (!Object.keys(named).length) observer.disconnect();
};
const observer = new MutationObserver(name);
observer.observe(document.body, {childList: true, subtree: true});
name();
