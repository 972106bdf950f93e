// Replaced at deployment. `npm start` writes the address of the server that it started.
globalThis.USE_FLASK_BACKEND = false;
globalThis.FLASK_BACKEND_URL = 'http://localhost:5001';
