// One event stream for all visible windows of a browser that have the same reader: the holder of a
// Web Lock opens it and passes it on over a BroadcastChannel. From a silent holder (frozen, or back
// from sleep), another window steals the lock.

const BEAT = 1_000; // ms
const MAX_SILENCE = 3_000;
const MAX_BREAKS = 3; // in a row, without an event between
const OPEN_TIMEOUT = 10_000;
const STABLE_AFTER = 10_000;
const STREAM_RETRY = 60_000;
const MAX_STREAM_AGE = 75_000; // an older one may have lost its connection unnoticed

const { stream: address, position: start } = document.getElementById("live-bar").dataset;
const id = Math.random();
let position = Number(start); // of the last event that this window knows
let passed; // that of the last event that it has passed on
let holder, closing, channel, onState, onChange, release, source, beat, timer, breaks;
export let opens; // of the stream; -1 while it is lost, undefined while this window is closed

// Calls onState() when the stream is opened or lost, onChange(ids) with null for all messages.
export function open(...listeners) {
  [onState, onChange] = listeners;
  opens = 0;
  holder = undefined;
  closing = new AbortController();
  channel = new BroadcastChannel(address);
  channel.onmessage = ({ data }) => {
    if (!data) tell(); // to a window that has come
    else if (!release) hear(data);
  };
  queue();
}

export function close() {
  opens = undefined;
  closing?.abort();
  channel?.close();
  letGo();
}

function queue(steal) {
  const { signal } = closing;
  navigator.locks.request(address, steal ? { steal } : { signal }, () =>
    signal.aborted || release ? null : new Promise(hold),
  ).catch(() => {
    if (signal.aborted) return;
    letGo(); // robbed
    queue();
  });
  channel.postMessage(null);
  awaitBeat();
}

function awaitBeat() {
  after(MAX_SILENCE * (1 + Math.random() / 4), () => queue(true));
}

function hold(resolve) {
  release = resolve;
  passed = position - 1;
  beat = setInterval(tell, BEAT);
  connect();
  tell();
}

function letGo() {
  clearInterval(beat);
  disconnect();
  release?.();
  release = undefined;
}

function tell(ids, state = opens) {
  if (!release) return;
  const message = { id, passed, state, ids };
  channel.postMessage(message);
  hear(message);
}

function hear(message) {
  if (!release) awaitBeat();
  if (message.state !== opens) {
    opens = message.state;
    onState();
  }
  // What another holder has passed on, or will not, may be missing here.
  const isBehind = message.id !== holder && position <= message.passed;
  holder = message.id;
  position = Math.max(position, message.passed);
  if (isBehind) onChange(null);
  else if (message.ids !== undefined) onChange(message.ids);
}

function connect() {
  disconnect();
  breaks = 0;
  const own = new EventSource(`${address}&since=${position}`);
  source = own;
  for (const type of ["open", "changed", "all", "error"]) {
    // A closed source may still dispatch what it had queued.
    own.addEventListener(type, (event) => own === source && receive(event));
  }
  after(OPEN_TIMEOUT, lose);
}

function receive({ type, data, lastEventId }) {
  if (type === "open") {
    after(MAX_STREAM_AGE, connect);
    setTimeout(() => { breaks = 0; }, STABLE_AFTER);
    tell(undefined, Math.max(opens, 0) + 1);
  } else if (type === "error") {
    breaks += 1;
    // The browser reopens a broken stream by itself, unless the response was not a stream.
    const isLost = source.readyState === EventSource.CLOSED || breaks === MAX_BREAKS;
    after(isLost ? 0 : OPEN_TIMEOUT, lose);
  } else {
    breaks = 0;
    passed = Number(lastEventId) || position;
    tell(JSON.parse(data));
  }
}

function lose() {
  disconnect();
  after(STREAM_RETRY, connect);
  tell(undefined, -1);
}

function disconnect() {
  clearTimeout(timer);
  source?.close();
  source = undefined;
}

function after(delay, action) {
  clearTimeout(timer);
  timer = setTimeout(action, delay);
}
