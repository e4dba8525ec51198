namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA kernels of the gated delta rule with a decay per head under emulation.</summary>
public sealed class GatedDeltaRuleEmulationTests() : DeltaRuleEmulationTests(new GatedDeltaRuleOperator());
