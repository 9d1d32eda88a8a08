/** @type {import("@rtk-query/codegen-openapi").ConfigFile} */
module.exports = {
  schemaFile: "../docs/openapi.json",
  apiFile: "./src/api/base-api.ts",
  apiImport: "baseApi",
  outputFile: process.env.OUTPUT ?? "./src/api/api.gen.ts",
  exportName: "api",
  hooks: true,
  tag: true,
  filterEndpoints: (name) => !/^(agent|idleCheck|cleanup|marketSample|notify|modelChat|modelComplete|modelEmbed|modelServed)/.test(name),
};
