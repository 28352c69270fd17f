// 'magma' by Nathaniel Smith and Stéfan van der Walt, CC0 (https://bids.github.io/colormap): perceptually uniform, and
// readable with every common colour vision deficiency. 64 samples, interpolated to 256.

const HEX =
  "00000402010903031206051a0a08220e0b2b130d34180f3d1d114722115029115a2f116336106b3d0f71440f764a1079" +
  "52137c59157e5f187f651a806b1d81721f817822817e24828426818b2981912b81982d809e2f7fa5317eab337cb2357b" +
  "ba3878c03a76c73d73cd4071d3436ed9466bdf4a68e44f64e95462ed5a5ff1605df4675cf66e5cf8765cfa7d5efb8560" +
  "fc8e64fd9668fe9d6cfea571feac76feb47bfebb81fec287feca8dfed194fed89afde0a1fde7a9fceeb0fcf6b8fcfdbf";

/** 256 RGB triples. */
export const COLORMAP = (() => {
  const nodes = HEX.length / 6;
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i += 1) {
    const at = (i / 255) * (nodes - 1);
    const low = Math.min(Math.floor(at), nodes - 2);
    for (let c = 0; c < 3; c += 1) {
      const a = parseInt(HEX.slice(low * 6 + c * 2, low * 6 + c * 2 + 2), 16);
      const b = parseInt(HEX.slice((low + 1) * 6 + c * 2, (low + 1) * 6 + c * 2 + 2), 16);
      table[i * 3 + c] = Math.round(a + (b - a) * (at - low));
    }
  }
  return table;
})();
