// Joins the two modules of src into one file that runs alone.
'use strict';
const fs = require('fs');
const path = require('path');

const modules = ['greeting', 'main'].map((name) => {
    const text = fs.readFileSync(path.join(__dirname, 'src', name + '.js'), 'utf8');
    return `${JSON.stringify('./' + name)}: (module, load) => {\n${text}}`;
});
const bundle = `'use strict';
const modules = {\n${modules.join(',\n')}\n};
function load(name) {
    const module = { exports: {} };
    modules[name](module, load);
    return module.exports;
}
load('./main');
`;
fs.mkdirSync(path.join(__dirname, 'dist'), { recursive: true });
fs.writeFileSync(path.join(__dirname, 'dist', 'hello.js'), bundle);
