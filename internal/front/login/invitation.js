(function () {
  var field = document.getElementById("secret");
  var secret = location.hash.slice(1);
  if (!field || !secret) return;
  history.replaceState(null, "", location.pathname);
  field.value = secret;
  document.getElementById("paste").hidden = true;
  document.getElementById("go").focus();
})();
