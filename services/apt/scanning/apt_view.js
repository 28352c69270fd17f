// A turnable view of voxels on a plain canvas: points sorted by depth, nothing loaded from elsewhere.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("view");
  const context = canvas.getContext("2d");
  const unpack = (text) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
    return new Int16Array(bytes.buffer);
  };
  const groups = { ordered: unpack(data.ordered), solute: unpack(data.solute) };
  const middle = data.shape.map((n) => n / 2);
  const size = Math.hypot(...data.shape);
  const view = { turn: 0.6, tip: 0.25, zoom: 1 };
  const draw = () => {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    const scale = view.zoom * Math.min(width, height) * 1.1 / size;
    const ct = Math.cos(view.turn), st = Math.sin(view.turn), cp = Math.cos(view.tip), sp = Math.sin(view.tip);
    const project = (x, y, z) => {
      const u = ct * x + st * y, v = -st * x + ct * y;
      return [width / 2 + scale * u, height / 2 + scale * (cp * z + sp * v), cp * v - sp * z];
    };
    const [a, b, c] = middle;
    context.strokeStyle = "#3a4656";
    for (const [p, q] of [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7]]) {
      const corner = (n) => project(n & 1 ? a : -a, n & 2 ? b : -b, n & 4 ? c : -c);
      const from = corner(p), to = corner(q);
      context.beginPath();
      context.moveTo(from[0], from[1]);
      context.lineTo(to[0], to[1]);
      context.stroke();
    }
    const points = [];
    for (const name of ["solute", "ordered"]) {
      if (!document.getElementById("show-" + name).checked) continue;
      const list = groups[name];
      for (let n = 0; n < list.length; n += 4) {
        const [x, y, depth] = project(list[n] + 0.5 - a, list[n + 1] + 0.5 - b, list[n + 2] + 0.5 - c);
        points.push([depth, x, y, name === "solute" ? -1 : list[n + 3]]);
      }
    }
    points.sort((p, q) => q[0] - p[0]);
    const side = Math.max(1.5, scale * 0.9);
    for (const [depth, x, y, number] of points) {
      const light = 62 - 28 * (depth / size + 0.5);
      context.fillStyle = number < 0 ? "rgba(200,205,212,.25)" : `hsl(${(number * 137.5) % 360} 70% ${light}%)`;
      context.fillRect(x - side / 2, y - side / 2, side, side);
    }
    const bar = 10 / data.voxel_nm * scale;
    context.fillStyle = "#e8ebf2";
    context.fillRect(16, height - 20, bar, 3);
    context.fillText("10 nm", 16, height - 26);
    canvas.dataset.points = points.length;
  };
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    view.turn += (event.clientX - held[0]) / 150;
    view.tip = Math.max(-1.5, Math.min(1.5, view.tip + (event.clientY - held[1]) / 150));
    held = [event.clientX, event.clientY];
    requestAnimationFrame(draw);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    view.zoom *= Math.exp(-event.deltaY / 500);
    requestAnimationFrame(draw);
  }, { passive: false });
  for (const name of ["ordered", "solute"]) document.getElementById("show-" + name).addEventListener("change", draw);
  window.addEventListener("resize", draw);
  draw();
})();
