// Turns on what GOV.UK Frontend adds to a page. Every page works without it.
import { initAll } from "govuk-frontend";

document.body.classList.add("js-enabled");
if ("noModule" in HTMLScriptElement.prototype) {
  document.body.classList.add("govuk-frontend-supported");
  initAll();
}

// Something is under way: look again every two seconds, and replace only that part of the page.
async function follow() {
  const part = document.querySelector("[data-follow]");
  if (!part) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const found = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = found.querySelector("#main-content > [aria-live]");
    if (answer.ok && fresh) {
      part.innerHTML = fresh.innerHTML;
      if (!fresh.hasAttribute("data-follow")) part.removeAttribute("data-follow");
    }
  } catch {
    // The service does not answer: the link on the page is still there.
  }
  setTimeout(follow, 2000);
}
setTimeout(follow, 2000);

// The letter as it will look, which is what is printed, follows the text that is edited.
const text = document.querySelector("textarea#text");
const letter = document.querySelector(".app-letter");
function show() {
  const paragraphs = text.value.split("\n\n").filter(each => each.trim());
  letter.replaceChildren(...paragraphs.map(each => {
    const paragraph = document.createElement("p");
    paragraph.className = "govuk-body";
    paragraph.textContent = each.replace(/^\n+|\n+$/g, "").replaceAll("-£", "-\u2060£");
    return paragraph;
  }));
}
if (text && letter) {
  text.addEventListener("input", show);
  // Whoever comes back to the page finds what they had written in it.
  addEventListener("pageshow", () => { if (text.value !== text.defaultValue) show(); });
}
