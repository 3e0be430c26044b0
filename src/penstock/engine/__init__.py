"""What serves tokens on this machine: the embedded llama.cpp, the guide's file, and models from a hub.

The only folder that may import xllamacpp, torch or vllm, and each of its files imports what it needs itself: importing the
package costs nothing.
"""
