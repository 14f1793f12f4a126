// Names what Gradio leaves without a name, and puts its elements into their first state.
const named = {
    "answer": {role: "status", "aria-live": "polite"},
    "conversation": {role: "status", "aria-live": "polite"},
    "clip-group": {role: "group", "aria-label": "Clip"},
    "recording-group": {role: "group", "aria-label": "Recording"},
    "transcript-group": {role: "group", "aria-label": "Transcript"},
};
for (const [id, attributes] of Object.entries(named))
    for (const [name, value] of Object.entries(attributes)) document.getElementById(id)?.setAttribute(name, value);
document.getElementById("stop").disabled = true;  // until a conversation is under way
