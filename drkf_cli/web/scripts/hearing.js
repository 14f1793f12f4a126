// Plays the stretch of a recording that somebody clicks on: a block of a lane, or the time of a segment.
const PAST = 1;  // seconds after the end of a stretch in which the player still stops by itself
let until = Infinity, piece = null;

const mark = (answer, number) => {
    for (const part of answer.querySelectorAll("[data-piece]")) part.classList.toggle("heard", part.dataset.piece === number);
};
const watch = player => {
    if (player.currentTime >= until && player.currentTime < until + PAST) player.pause();
    if (!player.paused) requestAnimationFrame(() => watch(player));
};
document.addEventListener("click", event => {
    const chosen = event.target.closest(".drkf [data-start]"), answer = chosen?.closest(".drkf");
    const player = answer?.querySelector("audio");
    if (!player) return;
    until = Number(chosen.dataset.end);
    player.currentTime = Number(chosen.dataset.start);
    player.play().catch(() => {});  // stopped by the next click, or not playable, which the player says
    mark(answer, piece = chosen.dataset.piece);
});
document.addEventListener("play", event => {
    if (event.target.matches(".drkf audio")) watch(event.target);
}, true);
document.addEventListener("pause", event => {
    if (event.target.matches(".drkf audio")) mark(event.target.closest(".drkf"), until = Infinity);
}, true);

// The server deletes recordings after a while: the page keeps its own copy.
window.keepRecording = async () => {
    const player = document.querySelector("#conversation audio[data-recording]");
    if (!player) return;
    const sent = await fetch(`${settings.api()}/file=${encodeURI(player.dataset.recording)}`);
    if (sent.ok) player.src = URL.createObjectURL(await sent.blob());
};
