namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA kernels of the gated delta rule with a decay per key channel under emulation.</summary>
public sealed class ChannelDeltaRuleEmulationTests() : ChannelDecayEmulationTests(new ChannelDeltaRuleOperator());
