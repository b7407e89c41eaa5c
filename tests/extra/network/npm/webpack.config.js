module.exports = { mode: 'production', target: 'node', entry: './src/index.js' };
