"""Settings for slides: jupyter nbconvert --config slides_config.py --to slides NOTEBOOK (README.md says how).

A slide is laid out on 1440 x 810 points and shown in any window of 16:9; the programs that turn the pages lie beside
the decks, so that they run without a network.
"""
c = get_config()  # noqa: F821  (nbconvert defines it)

c.SlidesExporter.reveal_width = "1440"
c.SlidesExporter.reveal_height = "810"
c.SlidesExporter.reveal_transition = "none"
c.SlidesExporter.reveal_number = "c/t"
c.SlidesExporter.reveal_url_prefix = "node_modules/reveal.js"
c.SlidesExporter.require_js_url = "node_modules/requirejs/require.js"
c.SlidesExporter.jquery_url = "node_modules/jquery/dist/jquery.js"
# Code that is folded in the notebook (drawing, mostly) is left out of the slide; what it drew is there.
c.TagRemovePreprocessor.enabled = True
c.TagRemovePreprocessor.remove_input_tags = {"remove-input"}
