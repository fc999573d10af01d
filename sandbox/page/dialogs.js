// What opens above the page: an enlarged picture, and Discord's modals.

export function showPicture(src, alt) {
  const dialog = document.getElementById("enlarged");
  Object.assign(dialog.querySelector("img"), { src, alt });
  dialog.onclick = () => dialog.close();
  dialog.showModal();
}

// `send(values)` submits the form; what it throws is shown, and the form stays open.
export function openModal(modal, send) {
  const dialog = document.getElementById("modal");
  const problem = dialog.querySelector(".problem");
  dialog.querySelector("h2").textContent = modal.title;
  dialog.querySelector(".fields").replaceChildren(...modal.fields.map(field));
  problem.textContent = "";
  dialog.querySelector(".cancel").onclick = () => dialog.close();
  const form = dialog.querySelector("form");
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await send(Object.fromEntries(new FormData(form)));
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  if (!dialog.open) dialog.showModal();
}

function field(asked) {
  const label = document.createElement("label");
  const title = document.createElement("span");
  title.textContent = asked.required ? `${asked.label} *` : asked.label;
  label.append(title, input(asked));
  if (asked.hint) {
    const hint = document.createElement("small");
    hint.textContent = asked.hint;
    label.append(hint);
  }
  return label;
}

function input(asked) {
  if (asked.kind === "choice") {
    const select = document.createElement("select");
    const nothing = asked.required && asked.default ? [] : [["", "…"]];
    select.append(...[...nothing, ...asked.choices].map(([value, text]) => new Option(text, value)));
    Object.assign(select, { name: asked.name, required: asked.required, value: asked.default });
    return select;
  }
  const box = document.createElement(asked.long ? "textarea" : "input");
  return Object.assign(box, { name: asked.name, required: asked.required, maxLength: asked.max_length, value: asked.default, dir: "auto" });
}
