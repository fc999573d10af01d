// What the composer offers while a command is typed: names of commands, and for Discord options and their values.

const MOST = 25;
const ATTACHMENT = 11;

// `ask(command, option, typed)` fetches what the bot itself suggests. Gives [{label, hint, text}], `text` being the whole line after it.
export async function completions(typed, commands, platform, language, ask) {
  const name = /^\/(\S*)$/.exec(typed);
  if (name) return named(name[1].toLowerCase(), commands, language);
  const line = /^\/(\S+)\s([\s\S]*)$/.exec(typed);
  const command = platform === "discord" && line && commands.find((one) => one.name === line[1]);
  return command ? ofOptions(typed, line[2], command, language, ask) : [];
}

function named(part, commands, language) {
  return commands
    .filter((command) => command.name.startsWith(part))
    .slice(0, MOST)
    .map((command) => ({ label: `/${command.name}`, hint: described(command, language), text: `/${command.name} ` }));
}

async function ofOptions(typed, rest, command, language, ask) {
  const options = command.options ?? [];
  const used = [...rest.matchAll(/(?:^|\s)([\w-]+):/g)].filter((mark) => options.some((option) => option.name === mark[1]));
  const last = used.at(-1);
  if (last) {
    const option = options.find((one) => one.name === last[1]);
    const part = rest.slice(last.index + last[0].length);
    const values = await valuesOf(option, part, command, ask);
    if (values.length) {
      const before = typed.slice(0, typed.length - part.length);
      return values.map(({ name, value }) => ({ label: name, hint: name === String(value) ? "" : String(value), text: `${before}${value} ` }));
    }
  }
  const word = /(?:^|\s)(\S*)$/.exec(rest)[1];
  const free = options.filter((one) => one.type !== ATTACHMENT && !used.some((mark) => mark[1] === one.name) && one.name.startsWith(word));
  const before = typed.slice(0, typed.length - word.length);
  return free.map((one) => ({ label: `${one.name}:`, hint: described(one, language), text: `${before}${one.name}:` }));
}

async function valuesOf(option, part, command, ask) {
  const low = part.toLowerCase();
  const given = option.autocomplete ? await ask(command.name, option.name, part) : (option.choices ?? []);
  const fit = given.filter(({ name, value }) => option.autocomplete || `${name}\n${value}`.toLowerCase().includes(low));
  return fit.some(({ value }) => String(value) === part.trim()) ? [] : fit.slice(0, MOST);
}

function described(thing, language) {
  return thing.description_localizations?.[language] ?? thing.description;
}
