const greeting = load('./greeting');
console.log(greeting('Node'));
