// Small helpers for making and changing elements. Everything that comes from outside becomes text, never markup.

const svgNamespace = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

// h makes an element: its attributes, listeners as on<event>, and its children, where strings are text.
export function h(name, properties, ...children) {
  return fill(document.createElement(name), properties, children);
}

// s is h for SVG.
export function s(name, properties, ...children) {
  return fill(document.createElementNS(svgNamespace, name), properties, children);
}

// icon makes one of the pictures in icons.svg. It is hidden from screen readers, as words beside it say the same.
export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `page/icons.svg#${name}` }));
}

// setText changes an element's text where it differs.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// setAttribute changes an attribute where it differs; null removes it.
export function setAttribute(element, name, value) {
  if (value === null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

// setHidden shows an element or hides it.
export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

// arrange gives a parent these children, in this order, and moves no more of them than needed. The element with the
// focus keeps it.
export function arrange(parent, wanted) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const keep = new Set(wanted);
  for (const child of [...parent.children]) {
    if (!keep.has(child)) child.remove();
  }
  let next = parent.firstElementChild;
  for (const child of wanted) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// button makes a button with a picture and words. A small one shows the words as its title and to screen readers only.
export function button(words, picture, onclick, properties = {}) {
  const { small, ...rest } = properties;
  if (small) {
    return h("button", { type: "button", class: "icon-button", "aria-label": words, title: words, onclick, ...rest }, icon(picture));
  }
  return h("button", { type: "button", onclick, ...rest }, picture ? icon(picture) : null, h("span", null, words));
}
