// All requests from the pages to the service: JSON, binary arrays, and event streams.

async function answer(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response.json();
}

export const latest = (limit) => answer(`/runs?limit=${limit}`);
export const classes = () => answer("/classes");
export const status = () => answer("/status");
export const provisionals = () => answer("/provisional");
export const rocking = (uid) => answer(`/runs/${encodeURIComponent(uid)}/rocking`);

/** The three central slices as one Float32Array of log10(1 + counts), with shape and voxel size; null if not stored. */
export async function slices(uid) {
  const response = await fetch(`/runs/${encodeURIComponent(uid)}/slices`);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`slices: ${response.status}`);
  const voxel = Number(response.headers.get("X-Voxel-Size-Inv-A"));
  return {
    shape: response.headers.get("X-Shape").split(",").map(Number),
    voxel: voxel > 0 ? voxel : null,
    values: new Float32Array(await response.arrayBuffer()),
  };
}

/** What a run's verdict depends on; `{problem}` with the service's message if there is no explanation. */
export async function explanation(uid) {
  const response = await fetch(`/runs/${encodeURIComponent(uid)}/explanation`);
  const body = await response.json();
  return response.ok ? body : { problem: body.detail ?? `${response.status} ${response.statusText}` };
}

/**
 * Follow new results. The browser reconnects on its own and sends the last event id it saw, so nothing is missed. If
 * the service has restarted (new epoch), it sends `reset` and the list is read again.
 */
export function follow({ onResult, onProvisional, onReset, onConnection }) {
  const source = new EventSource("/events");
  source.addEventListener("open", () => onConnection(true));
  source.addEventListener("error", () => onConnection(false));
  source.addEventListener("result", (event) => onResult(JSON.parse(event.data)));
  source.addEventListener("provisional", (event) => onProvisional(JSON.parse(event.data)));
  source.addEventListener("reset", () => onReset());
  return source;
}

const particlePath = (uid, name) => `/sadp/runs/${encodeURIComponent(uid)}/particles/${name.split("/").map(encodeURIComponent).join("/")}`;

export const particles = (limit) => answer(`/sadp/particles?limit=${limit}`);
export const oddsHistory = (uid, name) => answer(`${particlePath(uid, name)}/history`);

/** The newest pattern of a particle (uint8, logarithmic) with its spots and direct beam; null if there is none. */
export async function patternPicture(uid, name) {
  const response = await fetch(`${particlePath(uid, name)}/picture`);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`picture: ${response.status}`);
  const [rows, columns] = response.headers.get("X-Shape").split(",").map(Number);
  const centre = response.headers.get("X-Centre");
  const scale = Number(response.headers.get("X-Inv-Nm-Per-Px"));
  return {
    rows,
    columns,
    seq: Number(response.headers.get("X-Seq-Num")),
    centre: centre ? centre.split(",").map(Number) : null,
    scale: scale > 0 ? scale : null,
    spots: JSON.parse(response.headers.get("X-Spots")),
    values: new Uint8Array(await response.arrayBuffer()),
  };
}

/** Follow particles as their patterns arrive; see `follow`. */
export function followParticles({ onParticle, onReset, onConnection }) {
  const source = new EventSource("/sadp/events");
  source.addEventListener("open", () => onConnection(true));
  source.addEventListener("error", () => onConnection(false));
  source.addEventListener("particle", (event) => onParticle(JSON.parse(event.data)));
  source.addEventListener("reset", () => onReset());
  return source;
}
