"""Settings for slides: jupyter nbconvert --config tools/slides_config.py --to slides NOTEBOOK (notebooks/README.md).

A slide is laid out on 1440 x 810 points and shown in any window of 16:9; the programs that turn the pages lie beside
the decks, so that they run without a network.
"""
import copy
from pathlib import Path

from nbconvert.preprocessors import Preprocessor


class OutputOnTheNextSlide(Preprocessor):
    """A cell with the tag `output-slide` becomes two slides, its code and its output: together they are too high.

    A cell with the tag `remove-input` that has no output (its file is not measured yet) would be an empty slide.
    """

    def preprocess(self, nb, resources):
        cells = []
        for cell in nb.cells:
            tags = cell.metadata.get("tags", [])
            if "remove-input" in tags and not cell.outputs:
                continue
            cells.append(cell)
            if "output-slide" in tags:
                output = copy.deepcopy(cell)
                output.id += "-output"
                output.metadata.update(slideshow={"slide_type": "slide"}, transient={"remove_source": True})
                cell.outputs = []
                cells.append(output)
        nb.cells = cells
        return nb, resources


c = get_config()  # noqa: F821  (nbconvert defines it)

c.SlidesExporter.template_name = "slides_template"
c.SlidesExporter.extra_template_basedirs = [str(Path(__file__).parent)]
c.SlidesExporter.exclude_input_prompt = True
c.SlidesExporter.exclude_output_prompt = True
c.SlidesExporter.reveal_theme = "white"         # the usual one, "simple", asks Google for its fonts
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
c.SlidesExporter.preprocessors = [OutputOnTheNextSlide]
