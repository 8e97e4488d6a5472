// A picture opens at full size; a click or an arrow key shows the next of its row in the same place.
const dialog = document.querySelector("dialog");
const [large, caption] = dialog.children;
let strip, at;
const show = (index) => {
  at = (index + strip.length) % strip.length;
  large.src = strip[at].src;
  large.alt = caption.textContent = strip[at].alt;
  large.className = strip[at].className;
};
document.addEventListener("click", ({ target }) => {
  const button = target.closest("td button");
  if (button) {
    strip = [...button.closest("tr").querySelectorAll("img")];
    show(strip.indexOf(button.firstElementChild));
    dialog.showModal();
  } else if (target === large) show(at + 1);
  else dialog.close();
});
dialog.addEventListener("keydown", ({ key }) => {
  const way = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (way) show(at + way);
});
