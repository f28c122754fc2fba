"""Attribution: how much each head contributes, from gradients or by removal."""
