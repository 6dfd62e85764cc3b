// Clicks on cards become events of the component; the HTML itself comes from the server.
element.addEventListener('click', (event) => {
  const remove = event.target.closest('[data-remove]');
  if (remove) {
    trigger('remove', { region: Number(remove.dataset.remove) });
    return;
  }
  const select = event.target.closest('[data-select]');
  if (select) trigger('choose', { region: Number(select.dataset.select) });
});
