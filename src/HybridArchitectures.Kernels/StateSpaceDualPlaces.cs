using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the places of the gradients of inputs of the state-space dual that are slices. Null means separate memory.</summary>
readonly record struct StateSpaceDualPlaces(GradientSlice? X, GradientSlice? Dt, GradientSlice? B, GradientSlice? C);
