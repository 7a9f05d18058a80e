// Asks for the selection ten times at once: all of the requests have the same cookie.
const button = document.getElementById('ask');
const result = document.getElementById('result');

async function ask() {
  try {
    const answer = await fetch('/api/selection', { headers: { Accept: 'application/json' } });
    return answer.status;
  } catch {
    return 0;
  }
}

button.addEventListener('click', async () => {
  button.disabled = true;
  const all = await Promise.all(Array.from({ length: 10 }, ask));
  const good = all.filter((status) => status === 200).length;
  const refused = all.filter((status) => status === 401).length;
  let text = `${good} of 10 were answered`;
  if (refused > 0) text += `, ${refused} refused: without a grace one of those with the same token wins. You are still logged in`;
  if (good + refused < 10) text += `, ${10 - good - refused} failed: the token server is away`;
  result.textContent = text + '.';
  button.disabled = false;
});
