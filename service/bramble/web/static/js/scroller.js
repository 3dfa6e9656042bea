/** Boxes that scroll sideways where they are too wide: then, and only then, the keyboard reaches them. */

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));

/** Let `node` be focused while something of it is out of sight; `name` is what a screen reader calls it. */
export function watch(node, name) {
  node.dataset.name = name;
  sizes.observe(node);
}

function mark(node) {
  const isCut = node.scrollWidth > node.clientWidth;
  for (const [key, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", node.dataset.name]]) {
    if (isCut) node.setAttribute(key, value); else node.removeAttribute(key);
  }
}
