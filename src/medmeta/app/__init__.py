"""What a person uses: training, evaluating, adapting, predicting, reporting."""
