// The page's words in the language of its reader. LANGUAGES, made of the files in studio/languages, stands before all parts:
// language → key → sentence. Pure functions, but for the one language that is spoken; studio/languages.py has the same rules.

let spoken = "en";

const languageOf = (wish) => (String(wish || "").trim().toLowerCase().startsWith("zh") ? "zh" : "en");

// The sentence with its places filled; braces inside of a value mean nothing.
function filledIn(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => {
    if (!(name in values)) throw new Error(`no value for ${place} in “${sentence}”`);
    return String(values[name]);
  });
}

function say(key, values = {}) {
  const sentence = LANGUAGES[spoken][key];
  if (sentence === undefined) throw new Error(`there is no sentence ${key}`);
  return filledIn(sentence, values);
}

// key_one or key_many, whose {count} is the number
function sayCount(key, count, values = {}) {
  return say(`${key}_${count === 1 ? "one" : "many"}`, { count, ...values });
}

function speak(language) {
  spoken = language in LANGUAGES ? language : "en";
}
