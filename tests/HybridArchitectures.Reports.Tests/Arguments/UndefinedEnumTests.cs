using System.Reflection;
using System.Runtime.CompilerServices;
using HybridArchitectures.Adapters;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Reports.Tests.Arguments;

/// <summary>Tests that a number which an enumeration does not define is refused where it is set, by the name of the property.</summary>
public class UndefinedEnumTests
{
    // options of processes that work together are checked when their group is made
    static bool IsChecked(PropertyInfo property) => property.DeclaringType!.Namespace != "HybridArchitectures.Training.Distributed";

    [Fact]
    public void Undefined_values_of_properties_are_refused_by_name()
    {
        var properties = PublicMembers.EnumProperties().Where(IsChecked).ToArray();
        Assert.True(properties.Length > 50, $"{properties.Length} properties; expected those of all packages");
        foreach (var property in properties)
        {
            var owner = RuntimeHelpers.GetUninitializedObject(property.DeclaringType!);
            var type = PublicMembers.EnumOf(property);
            foreach (int number in new[] { -3, -100 })
            {
                var error = Assert.Throws<TargetInvocationException>(() => property.SetValue(owner, Enum.ToObject(type, number))).InnerException;
                var refusal = Assert.IsType<ArgumentOutOfRangeException>(error);
                Assert.Equal(property.Name, refusal.ParamName);
                Assert.StartsWith($"{property.Name} is {number}; expected one of ", refusal.Message);
            }
            foreach (var value in Enum.GetValues(type)) property.SetValue(owner, value);
        }
    }

    [Fact]
    public void Joined_flags_are_defined()
    {
        var both = LoraTargets.Attention | LoraTargets.Head;
        Assert.Equal(both, new LoraOptions { Targets = both }.Targets);
    }

    [Fact]
    public void The_reference_of_the_fusion_refuses_an_undefined_kind()
    {
        using var scope = NewDisposeScope();
        var branch = new FusionBranch(ones(1, 2, 4));
        var none = (FusionKind)99;
        Assert.Throws<ArgumentOutOfRangeException>("kind", () => BranchFusion.Forward(branch, branch, none));
        Assert.Throws<ArgumentOutOfRangeException>("kind", () => BranchFusionReference.Forward(branch, branch, none));
        Assert.Throws<ArgumentNullException>("gate", () => BranchFusionReference.Forward(branch, branch, FusionKind.Gate));
    }
}
