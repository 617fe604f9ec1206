"""Jobs for the engines that studios already run: one frozen description, one writer a farm."""
