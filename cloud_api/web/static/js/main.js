/** Starts the page: who is here, then the login or the ward. */

import { api } from "./api.js";
import { fill, mustFind } from "./dom.js";
import { SessionPage } from "./session_page.js";
import { loginView } from "./views/login.js";

const app = mustFind("#app");

// All flashing things flash together: one rhythm, whatever the moment each alarm came.
document.addEventListener("animationstart", (event) => {
  if (!(event.target instanceof Element) || !event.animationName.startsWith("alarm")) return;
  for (const animation of event.target.getAnimations({ subtree: true })) animation.startTime = 0;
});

/** @param {Ward.Session} session */
function showWard(session) {
  const page = new SessionPage(session, showLogin);
  fill(app, page.element);
  page.start();
}

/** @param {boolean} ended */
function showLogin(ended) {
  fill(app, loginView({ ended, onSession: showWard, onLanguage: () => showLogin(ended) }));
}

api.session().then(showWard, () => showLogin(false));
