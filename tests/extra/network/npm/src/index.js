const express = require('express');

const app = express();
app.get('/', (request, response) => response.send('notes'));
console.log(typeof app.listen, app.get('env'));
