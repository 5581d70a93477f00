"""Pre- and postprocessing that is shipped verbatim into the model repository; imports nothing of
qtriton outside this folder."""
