// The roles that the person has in the server, each of which can be switched on and off. Only Discord has them.

import { element } from "./element.js";

export async function showRoles(pane) {
  const box = pane.find(".roles");
  if (pane.platform !== "discord") return;
  const { id } = pane.person;
  const roles = await pane.get("roles");
  if (id !== pane.person.id) return;
  box.replaceChildren(box.querySelector("legend"), ...roles.map((role) => line(pane, role)));
  box.hidden = false;
}

function line(pane, { id, name }) {
  const box = element("input", { type: "checkbox", checked: pane.person.roles.includes(id) });
  box.addEventListener("change", () => pane.tried(() => set(pane, id, box.checked)));
  const label = element("label", { className: "line" });
  label.append(box, element("span", { textContent: name }));
  return label;
}

// Whoever becomes an admin sees other channels.
async function set(pane, role, on) {
  pane.people = await pane.post("roles", { person: pane.person.id, role, on });
  pane.person = pane.people.find(({ id }) => id === pane.person.id);
  pane.showPeople();
  pane.find(".person").value = pane.person.id;
  await pane.loadChats();
}
