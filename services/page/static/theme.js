// Runs before the first paint, to avoid a white flash in a dark control room.
(() => {
  const chosen = localStorage.getItem("braggwatch-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
