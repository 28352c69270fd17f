// Runs before the first paint, so that a dark control room never sees a white flash.
(() => {
  const chosen = localStorage.getItem("braggwatch-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
