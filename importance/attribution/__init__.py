"""Attribution: importance of every head, from gradients or by leaving parts out one by one."""
