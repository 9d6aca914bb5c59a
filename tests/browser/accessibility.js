// What a reviewer would look for first; returns sentences about what is wrong.
() => {
  const problems = [];
  const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const nameOf = (element) =>
    element.getAttribute("aria-label") ||
    (element.getAttribute("aria-labelledby") ?? "")
      .split(/\s+/)
      .map((id) => document.getElementById(id)?.textContent ?? "")
      .join(" ")
      .trim() ||
    [...(element.labels ?? [])].map((label) => label.textContent).join(" ").trim() ||
    element.getAttribute("alt") ||
    element.textContent.trim() ||
    element.getAttribute("title");
  const where = (element) => `${element.tagName.toLowerCase()}.${element.className} "${(element.textContent ?? "").trim().slice(0, 40)}"`;

  if (!document.documentElement.lang) problems.push("the page has no language");
  if (!document.querySelector("main")) problems.push("the page has no main landmark");
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index)))
    problems.push(`id ${id} is used twice`);
  for (const element of document.querySelectorAll("button, a[href], input, select, dialog[open], [role=img], [role=group]"))
    if (seen(element) && !nameOf(element)) problems.push(`${where(element)} has no name`);
  for (const image of document.querySelectorAll("img"))
    if (!image.hasAttribute("alt")) problems.push(`${where(image)} has no alt`);
  for (const element of document.querySelectorAll("[tabindex]"))
    if (element.tabIndex > 0) problems.push(`${where(element)} jumps the tab order`);
  for (const label of document.querySelectorAll("label[for]"))
    if (!document.getElementById(label.htmlFor)) problems.push(`${where(label)} labels nothing`);

  // Contrast of every piece of text against the nearest opaque ground (WCAG 1.4.3).
  const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const ground = channels(getComputedStyle(at).backgroundColor);
      if (ground.length === 3 || ground[3] === 1) return ground;
    }
    return [255, 255, 255];
  };
  const scope = document.querySelector("dialog[open]") ?? document.body;
  const walker = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
  const told = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(element) || element.closest(".visually-hidden, :disabled, noscript, option")) continue;
    const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(groundOf(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const line = `${where(element)} has a contrast of ${ratio.toFixed(2)}`;
    if (ratio < 4.5 && !told.has(line)) problems.push(line);
    told.add(line);
  }
  return problems;
};
