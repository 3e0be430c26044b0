"""Penstock: one endpoint that speaks OpenAI and Ollama in front of your own language-model engines.

Holds the version and nothing else: importing penstock must stay free of cost and of side effects.
"""

__version__ = "0.1.0"
