"""Small inline-SVG figures and the page that holds them; no script, no request to anywhere."""
