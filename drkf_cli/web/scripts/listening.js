// The microphone, answered while somebody speaks: every few seconds the last seconds of sound go to /answer, as a clip
// of their own, one after the other. The page keeps those seconds alone; the server keeps nothing between them.
const {window_seconds, step_seconds, most_seconds} = settings;
const RATE = 16000, BLOCK = 4096;  // Hz, samples
const element = id => document.getElementById(id);
const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
const clock = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const percent = share => `${(100 * share).toFixed(1)} %`;
let stop = null;  // ends the listening that is under way

// A WAV file of mono sound, 16 bits, at RATE.
const wav = async (samples, rate) => {
    const context = new OfflineAudioContext(1, Math.round(samples.length * RATE / rate), RATE);
    const source = new AudioBufferSourceNode(context, {buffer: new AudioBuffer({length: samples.length, sampleRate: rate})});
    source.buffer.copyToChannel(samples, 0);
    source.connect(context.destination);
    source.start();
    const resampled = (await context.startRendering()).getChannelData(0);
    const file = new DataView(new ArrayBuffer(44 + 2 * resampled.length));
    const text = (at, letters) => [...letters].forEach((letter, i) => file.setUint8(at + i, letter.charCodeAt(0)));
    text(0, "RIFF"), file.setUint32(4, file.byteLength - 8, true), text(8, "WAVEfmt "), file.setUint32(16, 16, true);
    file.setUint16(20, 1, true), file.setUint16(22, 1, true), file.setUint32(24, RATE, true);
    file.setUint32(28, 2 * RATE, true), file.setUint16(32, 2, true), file.setUint16(34, 16, true);
    text(36, "data"), file.setUint32(40, 2 * resampled.length, true);
    resampled.forEach((value, i) => file.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, value)), true));
    return new Blob([file], {type: "audio/wav"});
};

const reply = async sent => {
    if (!sent.ok) throw Error((await sent.json().catch(() => ({}))).detail ?? `The server says ${sent.status}.`);
    return sent;
};
const ask = async clip => {
    const form = new FormData();
    form.append("files", clip, "live.wav");
    const [path] = await (await reply(await fetch(`${settings.api()}/upload`, {method: "POST", body: form}))).json();
    const data = [{path, meta: {_type: "gradio.FileData"}}, null];
    const question = {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({data})};
    const {event_id} = await (await reply(await fetch(`${settings.api()}/call/answer`, question))).json();
    const events = await (await reply(await fetch(`${settings.api()}/call/answer/${event_id}`))).text();
    const [, kind, found] = events.match(/event: (complete|error)\ndata: (.*)/) ?? [null, "error", "null"];
    const answer = JSON.parse(found);
    if (kind === "error") throw Error(answer?.error ?? "The server gave no answer.");
    return answer[0];
};

// What the last seconds held: `record()` gives them as samples, `time()` says how long it has listened.
const open = async () => {
    if (!navigator.mediaDevices) throw Error("Browsers give the microphone to pages over https or on localhost alone.");
    const stream = await navigator.mediaDevices.getUserMedia({audio: true}).catch(error => {
        throw Error(`The microphone cannot be used: ${error.message}. Allow it in the browser, or choose another one.`);
    });
    const context = new AudioContext(), most = Math.round(window_seconds * context.sampleRate);
    const node = context.createScriptProcessor(BLOCK, 1, 1);  // a worklet would need a file, or a wider policy, of its own
    let kept = new Float32Array(0), heard = 0;
    node.onaudioprocess = ({inputBuffer}) => {
        const block = inputBuffer.getChannelData(0), before = kept.slice(-Math.max(0, most - block.length));
        kept = new Float32Array(before.length + block.length);
        kept.set(before);
        kept.set(block, before.length);
        heard += block.length;
    };
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    await context.resume();
    return {
        time: () => heard / context.sampleRate,
        record: () => wav(kept.slice(-most), context.sampleRate),
        close: () => (stream.getTracks().forEach(track => track.stop()), context.close()),
    };
};

// The current answer is said aloud when it changes; bars, bands and table hold every one.
const show = (answers, seconds) => {
    const {best, text} = answers.at(-1), said = best ? best.label : "silence";
    if (element("live-now").textContent !== said) element("live-now").textContent = said;
    element("live-share").textContent = best ? `, ${percent(best.score)}` : "";
    const row = element("live-rows").insertRow(0);
    for (const cell of [clock(answers.at(-1).end), said, best ? percent(best.score) : "", text ?? ""])
        row.insertCell().textContent = cell;
    const labels = [...new Set(answers.flatMap(answer => answer.scores.map(score => score.label)))].sort();
    const bands = labels.flatMap(label => {
        const name = document.createElement("span"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        name.textContent = label;
        svg.setAttribute("viewBox", `0 0 ${Math.max(60, seconds)} 1`);
        svg.setAttribute("preserveAspectRatio", "none");
        for (const {start, end, scores, best} of answers) {
            const height = scores.find(score => score.label === label)?.score ?? 0;
            const block = svg.appendChild(document.createElementNS(svg.namespaceURI, "rect"));
            const place = {x: start, y: 1 - height, width: end - start, height, class: best?.label === label ? "strong" : "weak"};
            for (const [key, value] of Object.entries(place)) block.setAttribute(key, value);
        }
        return [name, svg];
    });
    element("live-bands").replaceChildren(...bands);
    element("live-end").textContent = clock(Math.max(60, seconds));
};

const listen = async () => {
    const say = message => element("live-state").textContent = message;
    let is_stopped = false, microphone = null;
    stop = () => { is_stopped = true; };
    element("live-rows").replaceChildren();
    element("live-bands").replaceChildren();
    element("live-now").textContent = element("live-share").textContent = "";
    say("Waiting for the microphone ...");
    try {
        microphone = await open();
        say("Listening. Speak.");
        element("live-picture").hidden = false;
        const answers = [];
        for (let next = Math.min(step_seconds, window_seconds); !is_stopped; next = Math.max(next + step_seconds, microphone.time())) {
            while (!is_stopped && microphone.time() < next) await pause(0.1);
            const end = microphone.time();
            if (is_stopped || end > most_seconds) break;
            try {
                const answer = await ask(await microphone.record());
                const scores = answer.warning?.startsWith("silence") ? [] : answer.scores ?? [];
                const start = Math.max(end - window_seconds, answers.at(-1)?.end ?? 0);
                answers.push({start, end, scores, best: scores[0], text: answer.text});
                show(answers, end);
                say("Listening. Speak.");
            } catch (error) {
                say(`That did not work: ${error.message} Listening on.`);
                await pause(step_seconds);
            }
        }
        say(is_stopped ? `Stopped after ${clock(microphone.time())}.` : `Stopped: ${clock(most_seconds)} minutes are the most.`);
    } catch (error) {
        say(error.message);
    }
    microphone?.close();
    stop = null;
};

document.addEventListener("click", event => {
    const button = event.target.closest("#listen");
    if (!button) return;
    if (stop) return stop();
    button.textContent = "Stop listening";
    listen().finally(() => { button.textContent = "Start listening"; });
});
