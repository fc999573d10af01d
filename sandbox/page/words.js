// Every text of the page in English and in Chinese, and which of the two is shown.

const WORDS = {
  about: ["Both chats run on this machine. Nothing here reaches Telegram or Discord.", "两个聊天都在本机运行，不会连到 Telegram 或 Discord。"],
  platforms: ["Chat platforms", "聊天平台"],
  otherLanguage: ["中文", "English"],
  switchLanguage: ["切换到中文", "Switch to English"],
  youAre: ["You are", "你是"],
  roles: ["Roles in the server", "在服务器中的角色"],
  admin: ["{0} (admin)", "{0}（管理员）"],
  chats: ["Chats", "聊天"],
  unread: ["{0}, unread", "{0}，有未读消息"],
  messages: ["Messages", "消息"],
  message: ["Message", "消息"],
  placeholder: ["Message, or / for commands", "输入消息，或输入 / 查看命令"],
  send: ["Send", "发送"],
  addPicture: ["Add a picture", "添加图片"],
  dropPicture: ["Take the picture away", "移除图片"],
  pictureToSend: ["The picture to send", "要发送的图片"],
  suggestions: ["Suggestions", "建议"],
  found: ["{0} suggestions. Arrow keys choose, Tab takes.", "{0} 条建议。用方向键选择，按 Tab 采用。"],
  connecting: ["connecting…", "连接中…"],
  reconnecting: ["reconnecting…", "重新连接中…"],
  gone: ["not connected", "未连接"],
  noStream: ["The sandbox does not know this person any more. Load the page again.", "沙盒已不认识此人，请重新加载页面。"],
  unreachable: ["The sandbox does not answer. Is it still running?", "沙盒没有响应。它还在运行吗？"],
  refused: ["The sandbox answered {0}.", "沙盒返回了 {0}。"],
  broken: ["Something in this page went wrong: {0}", "页面出错：{0}"],
  noPicture: ["A picture could not be loaded.", "图片无法加载。"],
  thinking: ["{0} is thinking…", "{0} 正在思考…"],
  edited: ["edited {0}", "已编辑 {0}"],
  used: ["{0} used /{1}", "{0} 使用了 /{1}"],
  onlyYou: ["Only you can see this", "仅你可见"],
  pictureFrom: ["Picture from {0}", "{0} 的图片"],
  enlarge: ["Enlarge", "放大"],
  spoiler: ["Spoiler", "剧透"],
  veiled: ["Spoiler: show the picture from {0}", "剧透：显示 {0} 的图片"],
  picture: ["Picture", "图片"],
  code: ["Code", "代码"],
  close: ["Close", "关闭"],
  cancel: ["Cancel", "取消"],
  submit: ["Submit", "提交"],
  tryThis: ["New here? Try one of these.", "第一次使用？试试这些。"],
  noMessages: ["No messages yet.", "还没有消息。"],
  hintStart: ["What the bot can do for you", "看看机器人能做什么"],
  hintLend: ["Lend a key and earn Credits", "出借密钥，赚取 Credits"],
  hintImagine: ["Make a picture", "生成一张图片"],
  hintPrompt: ["a lighthouse at dawn", "黎明时分的灯塔"],
  hintKey: ["When it asks for a key, give one of these. They work in this sandbox only.", "要求提供密钥时，可使用以下任意一个，仅在本沙盒内有效。"],
  copy: ["Copy", "复制"],
  copyKey: ["Copy the {0} key", "复制 {0} 密钥"],
  copied: ["Copied", "已复制"],
  notCopied: ["The browser does not allow copying. The key is selected: copy it by keyboard.", "浏览器不允许复制。密钥已选中，请用键盘复制。"],
  faults: ["Faults", "故障"],
  faultsOn: ["Faults, {0} on", "故障，已开启 {0} 项"],
  faultsAbout: ["What you switch here happens to the product from its next call on.", "在这里切换后，产品的下一次调用就会遇到。"],
  providers: ["Image providers", "图片服务商"],
  behaviour: ["{0} is", "{0} 状态"],
  normal: ["normal", "正常"],
  slow: ["slow", "缓慢"],
  down: ["down (503)", "宕机（503）"],
  rate_limited: ["rate limited (429)", "限流（429）"],
  empty: ["out of credit", "余额不足"],
  filter: ["filtering every picture", "过滤所有图片"],
  blank: ["giving empty pictures", "返回空白图片"],
  other: ["switched elsewhere", "由别处设置"],
  latency: ["Seconds until it answers", "响应前等待的秒数"],
  retryAfter: ["Retry-After, seconds", "Retry-After（秒）"],
  balance: ["{0} credits left", "余额 {0}"],
  ownFaults: ["has switches of its own", "有单独的开关"],
  noKeys: ["No key has been used yet.", "还没有使用过密钥。"],
  calls: ["Picture calls: {0}", "图片调用次数：{0}"],
  flood: ["{0} refuses the next message (429)", "{0} 拒绝下一条消息（429）"],
  floodNote: ["A refusal happens once; then its switch goes back by itself.", "拒绝只发生一次，之后开关自动关闭。"],
  calm: ["Everything back to normal", "全部恢复正常"],
};
const KEPT = "language";

let chosen = localStorage.getItem(KEPT) ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export function language() {
  return chosen;
}

// `{0}` in the text is the first of `values`, and so on.
export function word(key, ...values) {
  return WORDS[key][chosen === "zh" ? 1 : 0].replace(/\{(\d)\}/g, (_, place) => values[place]);
}

// Everybody who has put words on the page listens to `words` of the document and does it again.
export function switchLanguage() {
  chosen = chosen === "zh" ? "en" : "zh";
  localStorage.setItem(KEPT, chosen);
  translate(document);
  document.dispatchEvent(new Event("words"));
}

// What stands in the HTML: data-words is the text of an element, data-name its accessible name, data-hint its placeholder.
export function translate(root) {
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const one of root.querySelectorAll("[data-words]")) one.textContent = word(one.dataset.words);
  for (const one of root.querySelectorAll("[data-name]")) one.setAttribute("aria-label", word(one.dataset.name));
  for (const one of root.querySelectorAll("[data-hint]")) one.placeholder = word(one.dataset.hint);
  for (const one of root.querySelectorAll("[data-alt]")) one.alt = word(one.dataset.alt);
}
