// Rules for the script of the review page, which .ci/run checks where npm is installed.
const browser = ["atob", "Blob", "cancelAnimationFrame", "document", "Image", "localStorage", "performance",
  "requestAnimationFrame", "ResizeObserver", "sessionStorage", "setTimeout", "URL", "window"];

export default [
  {
    files: ["**/*.js"],
    languageOptions: {
      ecmaVersion: 2024,
      sourceType: "script",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error", "consistent-return": "error", "dot-notation": "error", eqeqeq: "error",
      "no-array-constructor": "error", "no-cond-assign": "error", "no-const-assign": "error", "no-constant-condition": "error",
      "no-dupe-else-if": "error", "no-dupe-keys": "error", "no-duplicate-case": "error", "no-else-return": "error",
      "no-empty": "error", "no-eval": "error", "no-extend-native": "error", "no-fallthrough": "error",
      "no-global-assign": "error", "no-implied-eval": "error", "no-invalid-regexp": "error", "no-new-func": "error",
      "no-promise-executor-return": "error", "no-redeclare": "error", "no-script-url": "error", "no-self-assign": "error",
      "no-self-compare": "error", "no-shadow": ["error", { builtinGlobals: false }], "no-undef": "error",
      "no-unreachable": "error", "no-unsafe-finally": "error", "no-unused-vars": "error", "no-use-before-define": ["error", { functions: false, classes: true, variables: false }],
      "no-useless-escape": "error", "no-var": "error", "object-shorthand": "error", "prefer-const": "error",
      "prefer-template": "off", "require-await": "error", strict: ["error", "global"], "valid-typeof": "error",
    },
  },
];
