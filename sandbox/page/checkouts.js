// The payments panel: every checkout page of both rails, where it opens, and what can become of it.

import { prepare } from "./dialogs.js";
import { element } from "./element.js";
import { get, post } from "./server.js";
import { language } from "./words.js";

const PATH = "/hands/checkouts";
const REFRESH_MS = 2000;
const RAILS = { stripe: "Stripe", alipay: "支付宝 Alipay" };
const WORDS = {
  title: ["Payments", "付款"],
  about: ["Each checkout page, newest first. An Alipay page is listed once it was opened.", "所有付款页面，最新的在前。支付宝页面打开后才会出现。"],
  nothing: ["No checkout yet. Type /topup and choose a package.", "还没有付款页面。发送 /topup 并选择套餐。"],
  mail: ["Mail", "邮件"],
  openPage: ["Open the page", "打开页面"],
  open: ["not paid", "未支付"],
  processing: ["money on its way", "款项在途"],
  paid: ["paid", "已支付"],
  failed: ["failed", "失败"],
  expired: ["closed", "已关闭"],
  returned: ["money went back", "已退回"],
  pay: ["Pay", "付款"],
  decline: ["Decline", "付款失败"],
  pay_later: ["Pay later", "稍后付款"],
  pay_twice: ["Pay, told 3 times", "付款，通知 3 次"],
  money_arrives: ["Money arrives", "款项到账"],
  money_fails: ["Money does not come", "款项未到"],
  refund: ["Refund", "退款"],
  chargeback: ["Chargeback", "拒付"],
  tell_again: ["Tell it again", "重新通知"],
};

export class CheckoutPanel {
  constructor(button, dialog) {
    Object.assign(this, { button, dialog, asked: 0 });
    this.problem = dialog.querySelector(".problem");
    prepare(dialog, true);
    button.addEventListener("click", () => this.open());
    dialog.addEventListener("close", () => clearInterval(this.timer));
    document.addEventListener("words", () => this.name());
    this.name();
  }

  name() {
    this.button.textContent = said("title");
    document.getElementById("open-mail").textContent = said("mail");
    this.dialog.querySelector("h2").textContent = said("title");
    this.dialog.querySelector(".about").textContent = said("about");
    if (this.shown) this.draw(this.shown);
  }

  open() {
    this.dialog.showModal();
    this.refresh();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
  }

  // An answer that a later one has overtaken is not shown.
  async ask(answer) {
    const asked = (this.asked += 1);
    try {
      const { checkouts } = await answer;
      this.problem.textContent = "";
      if (asked === this.asked) this.draw(checkouts);
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  refresh() {
    return this.ask(get(PATH));
  }

  // What has not changed is left alone, and so keeps the focus.
  draw(checkouts) {
    const drawn = JSON.stringify([language(), checkouts]);
    if (drawn === this.drawn) return;
    Object.assign(this, { drawn, shown: checkouts });
    const list = this.dialog.querySelector(".checkouts");
    list.replaceChildren(...(checkouts.length ? checkouts.map((one) => this.checkout(one)) : [element("p", { textContent: said("nothing") })]));
  }

  checkout({ rail, id, order, amount, title, state, url, hands }) {
    const whole = element("section", { className: "switches" });
    whole.dataset.order = order;
    const link = element("a", { href: url, target: "_blank", rel: "noopener noreferrer", textContent: said("openPage") });
    const buttons = element("div", { className: "hands" });
    buttons.append(...hands.map((hand) => this.hand(rail, id, hand)));
    whole.append(
      element("strong", { textContent: `${RAILS[rail]} · ${amount}` }),
      element("p", { textContent: `${title} · ${said(state)}` }),
      link,
      buttons,
    );
    return whole;
  }

  hand(rail, id, hand) {
    const button = element("button", { type: "button", textContent: said(hand) });
    button.addEventListener("click", () => this.ask(post(PATH, { rail, id, hand })));
    return button;
  }
}

function said(key) {
  return WORDS[key][language() === "zh" ? 1 : 0];
}
