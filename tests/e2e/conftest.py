"""End-to-end tests on the model: each opens a lab with `scene(…, tmp_path)`; operators' logs stay in that folder."""
